"""What comes from others and goes out to them: a folder of one's own checked, trained networks and results exported."""
