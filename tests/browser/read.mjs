// Reads an event stream with the npm package `eventsource` until the source is closed for good, as it is by a 204.
// Usage: node read.mjs URL; one JSON line per event.

import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
source.onmessage = (event) => console.log(JSON.stringify({ id: event.lastEventId, data: event.data }));
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED) process.exit(0);
};
