"""`python -m benchmarks`: all of them, about 25 minutes on a CPU."""

from benchmarks import cpu, curves, engines, overhead, reporting, scale, startup

startup.main()
reporting.main()
scale.main()
cpu.main()
engines.main()
curves.main()
overhead.main()
