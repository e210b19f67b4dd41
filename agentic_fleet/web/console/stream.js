// One run, followed live: every event once, across sleep, lost networks and restarts of the service.

import { get, pause, url } from "./api.js";

const LIVE = new Set(["created", "running", "waiting"]);
const SILENCE = 45_000; // heartbeats come every 15 s; a connection that is mute for longer is dead

const LONGEST = 4_000; // between two tries: a restart takes some seconds, and somebody is looking

export const sequence = (id) => Number(id?.split(":")[1] ?? 0);

export class Stream {
  /** `hear` gets events, `lost` a boolean, `over` the run's state (null: it is gone) when nothing will follow. */
  constructor(run, after, { hear, lost, over }) {
    Object.assign(this, { run, seq: after, hear, lost, over, closed: false, ended: false });
    Object.assign(this, { failures: 0, opened: 0 }); // in a row: requests that failed, streams that told nothing
    this.open();
  }

  close() {
    this.closed = true;
    this.source?.close();
    clearTimeout(this.watch);
    this.lost(false);
  }

  open() {
    const source = (this.source = new EventSource(url(`api/v1/runs/${this.run}/events?after=${this.run}:${this.seq}`)));
    source.onmessage = (message) => this.take(message);
    source.onopen = () => this.arrived();
    source.onerror = () => this.broken(source);
    this.listen();
  }

  arrived() {
    this.lost(false);
    this.listen();
  }

  listen() {
    clearTimeout(this.watch);
    const source = this.source;
    this.watch = setTimeout(() => this.broken(source), SILENCE);
  }

  take(message) {
    this.failures = this.opened = 0; // not sooner: a connection that is taken and broken at once is none
    this.listen();
    const event = JSON.parse(message.data);
    const seq = sequence(message.lastEventId);
    if (event.type === "heartbeat" || seq <= this.seq) return;
    this.seq = seq;
    this.ended = event.type === "done";
    this.hear(event);
  }

  /** The connection has ended: because the run has, or by accident. The run itself knows. */
  async broken(source) {
    if (this.closed || source !== this.source) return;
    source.close();
    this.source = null;
    clearTimeout(this.watch);
    while (!this.closed) {
      if (!this.ended || this.failures) this.lost(true);
      try {
        const state = await get(`api/v1/runs/${this.run}`);
        if (this.closed) return;
        if (!LIVE.has(state.status) && sequence(state.last_event_id) <= this.seq) return this.finish(state);
        if (this.opened++) await pause(Math.min(250 * 2 ** this.opened, LONGEST));
        return this.closed || this.open();
      } catch (problem) {
        if (problem.status === 404) return this.finish(null);
        if (problem.status === 401) return this.close();
        await pause(Math.min(250 * 2 ** ++this.failures, LONGEST));
      }
    }
  }

  finish(state) {
    this.close();
    this.over(state);
  }
}
