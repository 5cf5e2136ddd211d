"""`python -m benchmarks`: all of them, about 8 minutes on a CPU."""

from benchmarks import overhead, reporting, startup

startup.main()
reporting.main()
overhead.main()
