// @ts-check
/** What an operator can do: cancel a run, close a connection. Each is asked about first, and says what became of it. */
import { post } from "./api.js";
import { confirmed, note } from "./asking.js";
import { count } from "./words.js";

/** @param {{ agent: string, user: string, session: string, run: string, subruns?: number }} run */
export async function cancelRun({ agent, user, session, run, subruns = 0 }) {
  const below = subruns ? ` and its ${count(subruns)} ${subruns === 1 ? "sub-agent" : "sub-agents"}` : "";
  const sure = await confirmed({
    title: "Cancel this run?",
    text: `${agent}, run ${run}${below}, of ${user} in session ${session}. Its user sees it as cancelled.`,
    yes: "Cancel the run",
    no: "Let it run",
  });
  if (!sure) return;
  await done("runs/cancel", { user, session, run }, ({ cancelled }) => {
    return cancelled ? `Run ${run} is cancelled.` : `Run ${run} was over already.`;
  });
}

/** @param {{ connection: string, user: string | null, address: string }} connection */
export async function closeConnection({ connection, user, address }) {
  const sure = await confirmed({
    title: "Close this connection?",
    text: `${connection} of ${user ?? "nobody yet"}, from ${address}. The client comes back by itself, and misses nothing.`,
    yes: "Close it",
    no: "Keep it",
  });
  if (!sure) return;
  await done("connections/close", { connection }, ({ closed }) => {
    return closed ? `Connection ${connection} is closed.` : `Connection ${connection} was gone already.`;
  });
}

/** @param {string} path @param {object} body @param {(answer: any) => string} words */
async function done(path, body, words) {
  try {
    note(words(await post(path, body)), "ok");
  } catch (error) {
    note(`That did not work: ${error instanceof Error ? error.message : error}`, "error");
  }
}
