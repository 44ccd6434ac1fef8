--- Delivery that survives the line: messages are numbered, kept until they are acknowledged, sent again after a
-- reconnect, and taken once. The table of contents; docs/reliable.md has the promise and the wire format.
--
--   local link = reliable.client(ReconnectingWebSocket(url, reliable.protocol))
--   link:send("a line", nil, function(receipt) print(receipt.acknowledged, receipt.error) end)
--
--   local hub = reliable.server(WebSocketServer { port = 8080, protocols = { reliable.protocol } })
--   hub.onmessage = function(event) event.session:send("heard: " .. event.data) end
--
--   reliable_link     the numbers: what is kept, due, new or known already; no socket, no clock
--   reliable_client   a link over one socket, which may come back
--   reliable_hub      the sessions of a server, present and away
--
-- @module lunawire.reliable
local client = require "lunawire.reliable_client"
local hub = require "lunawire.reliable_hub"
local link = require "lunawire.reliable_link"

return {
  protocol = link.protocol,
  client = client.new,
  server = hub.new,
}
