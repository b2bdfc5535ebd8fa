"""Backups of the database: dumps that have been restored and counted, how long they are kept, and their restore"""
