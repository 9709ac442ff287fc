/** A page in React, in StrictMode: two views of one session, a view with a selection, and counters for the test. */
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { openQuestions } from "greenroom-client/store";
import { useGreenroom } from "greenroom-client/react";

const { ws_url } = await (await fetch("config")).json();
const FIRST = location.hash.slice(1); // the test's own session
const counts = (window.counts = { whole: 0, second: 0, finished: 0, frames: 0 });
const tick = () => requestAnimationFrame(tick, (counts.frames += 1));
tick();

function Whole({ name }) {
  counts.whole += 1;
  const [snapshot, session] = useGreenroom(ws_url, { session: name });
  window.session = session;
  const { runs, timeline, connection, typing } = (window.snapshot = snapshot);
  return (
    <main data-state={connection.state}>
      {runs.map(({ id, status, text }) => <p key={id} data-status={status}>{text}</p>)}
      {timeline.map((item) => item.kind === "message" && <q key={item.seq}>{item.text}</q>)}
      {openQuestions(snapshot).map(({ id, run, schema }) => (
        <form key={id}>
          {schema.enum.map((value) => <input type="button" key={value} value={value} onClick={() => session.answer(run, id, value)} />)}
        </form>
      ))}
      <i>{typing.length ? "typing" : ""}</i>
    </main>
  );
}

function Second({ name }) {
  counts.second += 1;
  const [{ seq }] = useGreenroom(ws_url, { session: name });
  return <aside>{seq}</aside>;
}

function Finished({ name }) {
  counts.finished += 1;
  const [done] = useGreenroom(ws_url, { session: name }, ({ runs }) => runs.filter(({ status }) => status === "ok").map(({ id }) => id));
  return <footer>{done.length}</footer>;
}

function Page() {
  const [shown, show] = useState(true);
  const [name, go] = useState(FIRST);
  window.go = go;
  return (
    <>
      {shown && <Whole name={name} />}
      {shown && <Second name={name} />}
      {shown && <Finished name={name} />}
      <button onClick={() => show(!shown)}>{shown ? "Hide" : "Show"}</button>
    </>
  );
}

createRoot(document.body).render(<StrictMode><Page /></StrictMode>);
