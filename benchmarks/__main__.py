"""`python -m benchmarks`: all of them, about half an hour on a CPU."""

from benchmarks import cpu, curves, engines, overhead, probes, reporting, scale, startup

startup.main()
reporting.main()
scale.main()
cpu.main()
engines.main()
curves.main()
probes.main()
overhead.main()
