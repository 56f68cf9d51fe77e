"""Worker processes: starting them, loading the code of users, and the loop over blocks.

- :mod:`.user_modules` loads worker modules; :mod:`.call` finds the function to call and checks its arguments.
- :mod:`.job` is the file that tells a process its worker module and arguments.
- :mod:`.starter` starts the workers of our tasks, :mod:`.spawned` one for a Daisy task of the user. Both end with the
  process that hands out the blocks, see :mod:`.lifetime`; :mod:`.place` finds a free GPU.
- :mod:`.replacing` decides whether a worker that ended is replaced, by the files of :mod:`.progress`.
- :mod:`.process` is the main function of the process, :mod:`.loop` its loop over blocks.
- :mod:`.leaving` lets a worker end before all blocks are done, when its job does.
- :mod:`.reports` are the files by which workers report failures, :mod:`.taken` those that tell the blocks of dead ones.
- :mod:`.command_line` is the command line that worker modules share.
"""
