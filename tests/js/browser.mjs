// SPDX-License-Identifier: MIT
// Serves a folder, opens a page of it in a headless Chromium, waits for an expression and prints what it gives as JSON:
//     node --experimental-websocket browser.mjs CHROMIUM FOLDER PAGE EXPRESSION [SCREENSHOT]
// The expression is a promise, or a value; it is asked again while it is undefined or null.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';

const [, , chromium, folder, page, expression, screenshot] = process.argv;
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.json': 'application/json', '.wasm': 'application/wasm' };
const server = http.createServer((request, response) => {
  const file = path.join(folder, path.normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname)));
  if (!fs.existsSync(file) || fs.statSync(file).isDirectory()) return response.writeHead(404).end();
  response.writeHead(200, { 'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream' });
  fs.createReadStream(file).pipe(response);
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'undertow-chromium-'));
const browser = spawn(chromium, [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--remote-debugging-port=0',
  '--autoplay-policy=no-user-gesture-required', '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
  `--user-data-dir=${profile}`, '--window-size=1100,1000', 'about:blank',
], { stdio: ['ignore', 'ignore', 'pipe'] });

const finish = (status) => {
  browser.kill('SIGKILL');
  server.close();
  setTimeout(() => {
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    process.exit(status);
  }, 200);
};
setTimeout(() => (console.error('browser.mjs: nothing after 90 s'), finish(3)), 90000).unref();

try {
  const port = await new Promise((done, fail) => {
    let said = '';
    browser.stderr.on('data', (text) => {
      said += text;
      const match = /DevTools listening on ws:\/\/[^:]+:(\d+)/.exec(said);
      if (match) done(match[1]);
    });
    browser.on('exit', () => fail(new Error(`Chromium ended: ${said.slice(-2000)}`)));
  });
  const [tab] = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()).filter((t) => t.type === 'page');
  const socket = new WebSocket(tab.webSocketDebuggerUrl), waiting = new Map();
  await new Promise((done) => (socket.onopen = done));
  let number = 0;
  socket.onmessage = ({ data }) => {
    const { id, result, error, method, params } = JSON.parse(data);
    if (method === 'Runtime.exceptionThrown') console.error(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === 'Runtime.consoleAPICalled') console.error(params.args.map((a) => a.value ?? a.description).join(' '));
    const [done, fail] = waiting.get(id) ?? [];
    waiting.delete(id);
    if (error) fail?.(new Error(error.message));
    else done?.(result);
  };
  const send = (method, params = {}) =>
    new Promise((done, fail) => (waiting.set(++number, [done, fail]), socket.send(JSON.stringify({ id: number, method, params }))));
  await send('Runtime.enable');
  await send('Page.enable');
  await send('Page.navigate', { url: `http://127.0.0.1:${server.address().port}/${page}` });
  for (;;) {
    await new Promise((done) => setTimeout(done, 200));
    const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    if (result.value === undefined || result.value === null) continue;
    if (screenshot) {
      const { data } = await send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
      fs.writeFileSync(screenshot, Buffer.from(data, 'base64'));
    }
    await new Promise((done) => process.stdout.write(`${JSON.stringify(result.value)}\n`, done));
    break;
  }
  finish(0);
} catch (error) {
  console.error(error);
  finish(2);
}
