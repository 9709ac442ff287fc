/** Compile page.vue, as a build tool does, and write vue.js: a page that shows it. */
import { readFileSync, writeFileSync } from "node:fs";
import { compileScript, parse } from "vue/compiler-sfc";

const { descriptor, errors } = parse(readFileSync("page.vue", "utf8"), { filename: "page.vue" });
if (errors.length) throw errors[0];
const { content } = compileScript(descriptor, { id: "page", inlineTemplate: true });
writeFileSync("page.vue.js", content);
writeFileSync("vue.js", `
  import { createApp } from "vue";
  import Page from "./page.vue.js";
  createApp(Page, { name: "in-vue" }).mount(document.body.appendChild(document.createElement("div")));
`);
