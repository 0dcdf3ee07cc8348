"""Parts of `collect_kill.py`: runs that can be killed, what is looked at afterwards, Ray, full disks."""
