"""Contacts from spreadsheets and into them.

read.py finds out how a file is written and gives its rows; columns.py what each column means;
people.py makes a contact of a row, or says what is wrong with it; write.py is the other direction;
cells.py keeps spreadsheets from running what is in a cell. These are pure. importing.py is the
task that reads a file into the log.
"""
