"""`python -m benchmarks`: all of them, about 20 minutes on a CPU."""

from benchmarks import cpu, engines, overhead, reporting, startup

startup.main()
reporting.main()
cpu.main()
engines.main()
overhead.main()
