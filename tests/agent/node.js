// The platform's client: TLS without a server name, one ALPN name, the agent's certificate checked for localhost. Prints what
// comes back. Arguments: the port that leads to the agent, and the TLS version.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const tls = require("node:tls");

const [port, version] = process.argv.slice(1);

function connect(protocol) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), "127.0.0.1", () => {
      const stream = tls.connect({
        socket,
        ca: fs.readFileSync("roots.pem"),
        cert: fs.readFileSync("client.pem"),
        key: fs.readFileSync("client.key"),
        minVersion: version,
        maxVersion: version,
        ALPNProtocols: [protocol],
        checkServerIdentity: (_, certificate) => tls.checkServerIdentity("localhost", certificate),
      });
      stream.once("secureConnect", () => resolve(stream));
      stream.once("error", reject);
    });
    socket.once("error", reject);
  });
}

async function text(readable) {
  let text = "";
  for await (const piece of readable) text += piece;
  return text;
}

async function requests(stream) {
  stream.write("CONFIG\n");
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  agent.createConnection = () => stream;
  const ask = (method, path, pieces, headers) =>
    new Promise((resolve, reject) => {
      const request = http.request({ agent, method, path, headers }, (response) =>
        text(response).then((body) => resolve(`${method} ${response.statusCode} ${path === "/echo" ? body : body.length}`)),
      );
      request.once("error", reject);
      for (const piece of pieces) request.write(piece);
      request.end();
    });
  console.log(await ask("POST", "/echo", ["sized"], { "content-length": 5 }));
  console.log(await ask("PUT", "/echo", ["chu", "nked"], {}));
  console.log(await ask("GET", "/bytes/5000", [], {}));
  console.log(await ask("GET", "/chunked/7000", [], {}));
  stream.destroy();
}

(async () => {
  process.stdout.write(await text(await connect("infisical-ping")));
  process.stdout.write(await text(await connect("infisical-health")));
  await requests(await connect("infisical-http-proxy"));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
