"""The reference, as Markdown made from the code: settings, commands, API, feed, task names, operations"""
