-- Files in lua/ keep to what Lua 5.1 to 5.5 have in common.
std = "max"
max_line_length = 130
exclude_files = { "build*", "t", "spec/node_modules", "*.rockspec" }
files["spec"] = { std = "+busted" }
files["types"] = { unused = false, max_line_length = false } -- declarations only, each on a line
