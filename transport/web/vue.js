// @ts-check

/**
 * A session in Vue (3.3 or newer).
 *
 *     import { useGreenroom } from "greenroom-client/vue";
 *
 *     const { snapshot, session } = useGreenroom("wss://example.com/", () => ({ session: props.session, token: fetchToken }));
 *
 * All components of a page with the same URL and options share one connection: see shared.js. In a component it opens when
 * the component is mounted, so not on a server.
 */
import { getCurrentInstance, onMounted, onScopeDispose, shallowRef, toValue, watch } from "vue";
import { keyOf, same, sharedStore } from "./shared.js";

/**
 * @typedef {import("./shared.js").SharedOptions} SharedOptions
 * @typedef {import("./shared.js").SharedStore} SharedStore
 * @typedef {import("./store.js").Snapshot} Snapshot
 */

/**
 * Return two refs: the snapshot of a session, or what `select` takes from it, and the session for calls (`start`, `answer`,
 * …). If the URL or the options are a ref or a getter, both refs follow: another session is another connection.
 *
 * @template [T=Snapshot]
 * @param {import("vue").MaybeRefOrGetter<string | URL>} url
 * @param {import("vue").MaybeRefOrGetter<SharedOptions>} options
 * @param {(snapshot: Snapshot) => T} [select]
 * @returns {{ snapshot: Readonly<import("vue").ShallowRef<T>>, session: Readonly<import("vue").ShallowRef<SharedStore>> }}
 */
export function useGreenroom(url, options, select = (snapshot) => /** @type {any} */ (snapshot)) {
  const session = shallowRef(sharedStore(toValue(url), toValue(options)));
  const snapshot = shallowRef(select(session.value.getSnapshot()));
  let stop = () => {};
  let begun = false;
  const follow = () => {
    begun = true;
    stop();
    stop = session.value.subscribe((newest) => {
      const value = select(newest);
      if (!same(snapshot.value, value)) snapshot.value = value;
    });
  };
  watch(() => keyOf(toValue(url), toValue(options)), () => {
    session.value = sharedStore(toValue(url), toValue(options));
    if (begun) follow();
  });
  watch(() => toValue(options).token, () => session.value.renew(toValue(options)));
  if (getCurrentInstance()) onMounted(follow);
  else follow();
  onScopeDispose(() => stop());
  return { snapshot, session };
}
