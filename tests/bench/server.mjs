/** Serves a folder to pages of any origin: node server.mjs DIR PORT. */
import { serve } from "../browser/server.mjs";

const [folder, port] = process.argv.slice(2);
await serve(folder, Number(port), {
  intercept(_, response) {
    response.setHeader("Access-Control-Allow-Origin", "*");
    return false;
  },
});
