"""The programs that start this server: their configuration files, edited safely."""
