// The platform's side of a channel, as its Node code opens one: TLS over a socket that is already
// connected, no servername, the ALPN names of one protocol. Options come as JSON on the command
// line; what came back goes to stdout, the error's code to stderr.
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const tls = require("node:tls");

const options = JSON.parse(process.argv[2]);
const read = (name) => fs.readFileSync(`${options.folder}/${name}`, "utf8");

const fail = (error) => {
  process.stderr.write(`${error.code} ${error.message}\n`);
  process.exit(1);
};

const socket = net.connect(options.port, "127.0.0.1", () => {
  const stream = tls.connect({
    socket,
    cert: options.anonymous ? undefined : read("client.pem"),
    key: options.anonymous ? undefined : read("client.key"),
    ca: read("roots.pem"),
    minVersion: options.version,
    maxVersion: options.version,
    ALPNProtocols: options.alpn,
  });
  stream.on("error", fail);
  stream.on("secureConnect", () => {
    if (options.http) return requests(stream, options.http);
    stream.on("data", (data) => process.stdout.write(data));
    stream.on("end", () => process.stdout.write("[end]"));
  });
});
socket.on("error", fail);

// Three requests on one connection, the bodies in both framings.
async function requests(stream, path) {
  stream.write("CONFIG\n");
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  agent.createConnection = () => stream;
  for (const [method, body, chunked] of [["GET", ""], ["POST", "sized", false], ["PUT", "chunked", true]]) {
    const text = await new Promise((resolve) => {
      const headers = body && !chunked ? { "content-length": body.length } : {};
      const request = http.request({ agent, method, path, headers }, (response) => {
        let text = "";
        response.on("data", (data) => (text += data));
        response.on("end", () => resolve(`${response.statusCode} ${text}`));
      });
      request.on("error", fail);
      if (chunked) request.write(body.slice(0, 3));
      request.end(chunked ? body.slice(3) : body);
    });
    process.stdout.write(`${text}\n`);
  }
  stream.end();
  stream.destroy();
}
