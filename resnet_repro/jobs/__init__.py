"""How the missing runs of a plan get trained, through any Hydra launcher.

    drive.py   the loop: what is missing is launched, watched, taken over, and listed if it crashed
    packs.py   which runs share a process, and what a launcher offers that can train them so
    slurm.py   what runs inside a job, which job a run has, and what Slurm says of it

The launchers themselves are Hydra's: those of ours lie in hydra_plugins/.
"""
