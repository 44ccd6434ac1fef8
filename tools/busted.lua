-- busted.lua -- runs busted under the interpreter this file is given to (the `busted`
-- command picks its own). All it takes from the command line is what busted takes.
require "busted.runner" { standalone = false }
