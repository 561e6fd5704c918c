// One conversation on streaming sessions, for whatever WebSocket there is: Node's own, npm's ws, a browser's.  Each step
// resolves or throws; the harness reads {"passed":[…],"failed":[…]}.
"use strict";

async function converse(WebSocket, base, want, protocols) {
  const passed = [], failed = [];

  function open(path) {
    const ws = new WebSocket(base + path, protocols);
    const inbox = [], waiting = [];
    ws.binaryType = "arraybuffer";
    const deliver = item => (waiting.length ? waiting.shift()(item) : inbox.push(item));
    ws.onmessage = event => deliver(typeof event.data === "string" ? JSON.parse(event.data) : new Uint8Array(event.data));
    ws.onclose = event => deliver({closed: event.code});
    return new Promise((resolve, reject) => {
      ws.onerror = () => reject(new Error("no connection to " + base + path));
      ws.onopen = () => resolve({
        ws,
        send: message => ws.send(JSON.stringify(message)),
        next: () => new Promise(got => (inbox.length ? got(inbox.shift()) : waiting.push(got))),
      });
    });
  }

  async function ended(session) {
    let text = "";
    for (;;) {
      const message = await session.next();
      if (message.token) text += message.token.text;
      else return {text, message};
    }
  }

  function same(got, wanted) {
    if (JSON.stringify(got) !== JSON.stringify(wanted))
      throw new Error("got " + JSON.stringify(got).slice(0, 300) + ", want " + JSON.stringify(wanted).slice(0, 300));
  }

  const steps = {
    async "the subprotocol is chosen"() {
      const session = await open("/stream?model=kjv");
      same(session.ws.protocol, "rnnd.v1");
      session.ws.close(1000);
      same((await session.next()).closed, 1000);
    },
    async "a text streams as it is without a stream"() {
      const session = await open("/stream?model=kjv");
      session.send({id: 1, generate: want.generate});
      const {text, message} = await ended(session);
      same(text, want.text);
      same(message.id, 1);
      session.ws.close(1000);
      same((await session.next()).closed, 1000);
    },
    async "requests by id, in order"() {
      const session = await open("/stream?model=kjv");
      for (let id = 0; id < 50; id++) session.send({id, predict: {input: "ab", top_k: 1}});
      for (let id = 0; id < 50; id++) {
        const message = await session.next();
        same([message.id, message.done.session.position], [id, 2 * id + 2]);
      }
      session.ws.close();
      await session.next();
    },
    async "a cancel"() {
      const session = await open("/stream?model=kjv");
      session.send({id: "long", generate: {input: "And ", max_tokens: 60000}});
      same(typeof (await session.next()).token.text, "string");
      session.send({cancel: "long"});
      const {message} = await ended(session);
      same(message.done.choices[0].finish_reason, "cancelled");
      session.ws.close(1000);
      await session.next();
    },
    async "a message of 500 kB"() {
      const session = await open("/stream?model=kjv");
      session.send({id: 1, predict: {input: "", expect_position: 0, model: "kjv", commit: false, top_k: 1}});
      await session.next();
      session.ws.send('{"id":2,"predict":{"input":"a","top_k":1}}' + " ".repeat(500000));
      same((await session.next()).id, 2);
      session.ws.close(1000);
      await session.next();
    },
    async "frames of numbers, answered in kind"() {
      const session = await open("/stream?model=sensor&format=f32");
      for (const frame of want.frames) {
        session.ws.send(new Float32Array(frame.in).buffer);
        const bytes = await session.next();
        same(Array.from(new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))),
             Array.from(new Float32Array(frame.out)));
      }
      session.ws.close(1000);
      await session.next();
    },
    async "a fault in a message ends the message alone"() {
      const session = await open("/stream?model=kjv");
      session.send({id: 1, predict: {inptu: "x"}});
      same((await session.next()).error.code, "malformed");
      session.send({id: 2, predict: {input: "x"}});
      same((await session.next()).id, 2);
      session.ws.close(1000);
      await session.next();
    },
    async "twenty at once"() {
      const texts = await Promise.all(Array.from({length: 20}, async () => {
        const session = await open("/stream?model=kjv");
        session.send({id: 1, generate: want.generate});
        const {text} = await ended(session);
        session.ws.close(1000);
        await session.next();
        return text;
      }));
      same(texts, Array(20).fill(want.text));
    },
    async "open for some pings"() {
      const session = await open("/stream?model=kjv");
      await new Promise(later => setTimeout(later, want.quiet_ms));
      session.send({id: 1, predict: {input: "a", top_k: 1}});
      same((await session.next()).id, 1);
      session.ws.close(1000);
      await session.next();
    },
  };

  for (const [name, step] of Object.entries(steps)) {
    try {
      await step();
      passed.push(name);
    } catch (error) {
      failed.push(name + ": " + (error.message || error));
    }
  }
  return {passed, failed};
}

if (typeof module !== "undefined" && require.main === module) {
  const [kind, base, want, protocols] = process.argv.slice(2);
  const Client = kind === "ws" ? require(process.env.WS_MODULE || "ws") : globalThis.WebSocket;
  converse(Client, base, JSON.parse(want), JSON.parse(protocols)).then(result => {
    console.log(JSON.stringify(result));
    process.exit(0);
  });
}
