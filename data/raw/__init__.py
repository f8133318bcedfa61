"""Raw text to arrays: files and folders of days, blocks of whole lines, bad lines counted by kind."""
