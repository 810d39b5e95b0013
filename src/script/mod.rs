//! Lua 5.1 scripts. A leaf: it is handed a closure that runs a command.
