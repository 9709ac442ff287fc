/** Compile page.svelte, as a build tool does, and write svelte.js: a page that shows it. */
import { readFileSync, writeFileSync } from "node:fs";
import { compile } from "svelte/compiler";

const { js } = compile(readFileSync("page.svelte", "utf8"), { generate: "client", filename: "page.svelte" });
writeFileSync("page.svelte.js", js.code);
writeFileSync("svelte.js", `
  import { mount } from "svelte";
  import Page from "./page.svelte.js";
  mount(Page, { target: document.body });
`);
