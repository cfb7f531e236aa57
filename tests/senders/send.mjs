// Sends webhooks that GitHub's own library has signed.
//
// usage: node --input-type=module - URL SECRET COUNT < send.mjs, in the folder that holds node_modules
//
// Prints a line for each request, as send.py does.
import { sign } from "@octokit/webhooks-methods";

const [url, secret, count] = process.argv.slice(2);
const FEW = 5;

async function send(kind, n, { key = secret, changed = false } = {}) {
  const body = JSON.stringify({ action: "opened", number: n, sender: { login: "zo\u00eb" } });
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-GitHub-Event": "issues",
      "X-GitHub-Delivery": crypto.randomUUID(),
      "X-Hub-Signature-256": await sign(key, body),
    },
    body: changed ? body + " " : body,
  });
  console.log(kind, response.status, await response.text());
}

for (let n = 0; n < Number(count); n++) await send("event", n);
for (let n = 0; n < Number(count); n++) await send("again", n);
for (let n = 0; n < FEW; n++) {
  await send("forged", Number(count) + n, { key: "nobody-here-has-ever-seen-this" });
  await send("changed", Number(count) + n, { changed: true });
}
