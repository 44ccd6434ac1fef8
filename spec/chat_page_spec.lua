-- The chat page in a real browser. spec/chat/page.js drives two of them against our server and prints a line for each
-- check; here those lines become tests, so that a check that was not made is a failure, too.

local helper = require "spec.helper"

local checks = {
  "the door asks for a name before anything else",
  "two people see each other come in",
  "what one says the other reads, numbered without gaps",
  "a name in use is refused at the door, with the reason beside the field",
  "markup of others stays text",
  "somebody typing is shown, and no longer once they have spoken",
  "a message the server will not take says why, and can be discarded",
  "what is read while nobody looks is counted in the title and marked in the log",
  "a lost line shows, and comes back by itself without doubles or holes",
  "a line that is dead without saying so is noticed",
  "a reload is no leaving, and a duplicate of the page has no part in its session",
  "a page whose session goes on elsewhere says so, and can take it back",
  "a chosen disconnect stays one, over a reload too, until Connect",
  "another room is another conversation, and has its address",
  "changing the name is seen by the others",
  "on a phone nothing is wider than the screen, and the menu opens, closes and gives the focus back",
  "everything has a name a screen reader can say, and the log is a log",
  "texts keep a contrast of 4.5 to 1, light and dark",
  "the whole way can be gone by keyboard",
  "the page never complained, and asked no other host for anything",
}

describe("the chat page #foreign", function()
  local output, results = nil, {}

  setup(function()
    output = helper.run(("timeout -k 5 150 node %s %s"):format(
      helper.quote(helper.root .. "/spec/chat/page.js"),
      helper.lua(helper.quote(helper.root .. "/examples/chat/server.lua") .. " 0")))
    for line in output:gmatch("[^\n]+") do
      local failed, title, reason = line:match("^(n?o?t? ?)ok ([^:]*):? ?(.*)$")
      if title then results[title] = failed == "" and "held" or reason end
    end
  end)

  for _, title in ipairs(checks) do
    it(title, function()
      assert.are.equal("held", results[title] or "not checked; the run said:\n" .. output)
    end)
  end

  it("has no check that is not listed here", function()
    for _, title in ipairs(checks) do results[title] = nil end
    assert.are.same({}, results)
  end)
end)
