// Runs operations with the Node library sequelize-natskv: each line of standard input
// is [method, argument…] of a model User, or of the database; each line of output what
// it returned, or the error. The library's directory, server and bucket are arguments.
const [, , library, server, bucket] = process.argv;
const path = require("path");
const { NatsKVSequelize } = require(path.join(library, "dist", "nats-kv-sequelize.js"));

(async () => {
  const db = new NatsKVSequelize({ servers: [server], bucket });
  await db.authenticate();
  const User = db.define("User", {}, {});
  User.indexes = ["name", "email", "score", "any"];
  const lines = require("readline").createInterface({ input: process.stdin });
  for await (const line of lines) {
    const [method, ...args] = JSON.parse(line);
    let out;
    try {
      const target = method in User ? User : db;
      out = (await target[method](...args)) ?? null;
    } catch (err) {
      out = { error: String(err) };
    }
    process.stdout.write(JSON.stringify(out) + "\n");
  }
  await db.close();
})();
