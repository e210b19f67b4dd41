// Where a question is written, with how it is to be worked on. While the team works, its button stops it.

import { attempt, byId, icon } from "./dom.js";

const KEPT = "fleet.wishes";

export class Composer {
  constructor({ send, stop }) {
    this.form = byId("composer");
    this.text = byId("message");
    this.press = byId("send");
    this.mode = byId("mode");
    this.effort = byId("effort");
    this.plan = byId("plan");
    this.busy = false;
    this.working(false);
    this.recall();
    this.send = attempt(async (words) => {
      if (this.busy) return;
      this.busy = true;
      this.press.disabled = true;
      try {
        await send(words);
        if (words.message === this.text.value) this.text.value = "";
        this.grow();
      } finally {
        this.busy = false;
        this.press.disabled = false;
      }
    });
    const halt = attempt(async () => {
      this.press.disabled = true;
      try {
        await stop();
      } finally {
        this.press.disabled = false;
      }
    });
    this.press.onclick = () => (this.atWork ? halt() : this.submit());
    this.form.onsubmit = (event) => event.preventDefault();
    this.form.onchange = () => this.keep();
    this.text.oninput = () => this.grow();
    this.text.onkeydown = (press) => {
      if (press.key !== "Enter" || press.shiftKey || press.isComposing) return;
      press.preventDefault();
      if (!this.atWork) this.submit();
    };
  }

  get wishes() {
    return {
      mode: this.mode.value,
      reasoning_effort: this.effort.value || null,
      require_plan_approval: this.plan.checked,
    };
  }

  submit() {
    const message = this.text.value;
    if (message.trim()) this.send({ ...this.wishes, message });
    else this.text.focus();
  }

  working(atWork) {
    if (this.atWork === atWork) return;
    this.atWork = atWork;
    this.press.replaceChildren(icon(atWork ? "stop" : "send"));
    this.press.setAttribute("aria-label", atWork ? "Stop" : "Send");
    this.press.title = atWork ? "Stop the team" : "Send (Enter)";
  }

  focus() {
    if (matchMedia("(hover: hover)").matches) this.text.focus(); // not where a keyboard would pop up
  }

  grow() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, 240)}px`;
  }

  keep() {
    try {
      localStorage.setItem(KEPT, JSON.stringify(this.wishes));
    } catch {
      // private windows may refuse
    }
  }

  recall() {
    try {
      const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
      this.mode.value = kept.mode ?? "auto";
      this.effort.value = kept.reasoning_effort ?? "";
      this.plan.checked = kept.require_plan_approval === true;
      if (!this.mode.value) this.mode.value = "auto";
    } catch {
      // it stays as it is
    }
  }
}
