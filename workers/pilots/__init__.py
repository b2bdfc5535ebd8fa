"""Pilots: workers in jobs of a batch system, submitted when tasks wait"""
