/**
 * @typedef {{ [name: string]: string }} HeaderFields
 *
 * @typedef {object} RunnerOptions
 * @property {string | URL} url  where Greenroom serves AG-UI: the path of `mount_agui`, without the name of an agent
 * @property {HeaderFields | (() => HeaderFields)} [headers]  of every request, before those of the agent and of the page: for
 *   a token of your own. A function is called for each request, and can look for the user of the present one.
 * @property {number[]} [retryMs]  the pauses before attempts to reach the server. Each event that comes begins anew
 *
 * @typedef {object} Target  what a stream is about
 * @property {string} threadId
 * @property {string} path
 * @property {{ [key: string]: any }} body
 * @property {HeaderFields | undefined} headers
 * @property {boolean} mayBeEmpty  whether a stream without any event is complete
 *
 * @typedef {{ type: string, [key: string]: any }} AguiEvent
 */
/** An `AgentRunner` of CopilotKit: pass it to `new CopilotRuntime({ runner })`. */
export class GreenroomAgentRunner {
    /** @param {RunnerOptions} options */
    constructor({ url, headers, retryMs }: RunnerOptions);
    /**
     * Run an agent, and return its events. A second subscriber joins the same run: a `runId` runs once.
     *
     * @param {{ threadId: string, agent: { agentId?: string, headers?: HeaderFields }, input: { [key: string]: any } }} request
     * @returns {Observable<any>}
     */
    run({ threadId, agent, input }: {
        threadId: string;
        agent: {
            agentId?: string;
            headers?: HeaderFields;
        };
        input: {
            [key: string]: any;
        };
    }): Observable<any>;
    /**
     * Return the events of a thread from its beginning. They are complete when no run of it is open.
     *
     * @param {{ threadId: string, agentId?: string, headers?: HeaderFields }} request
     * @returns {Observable<any>}
     */
    connect({ threadId, agentId, headers }: {
        threadId: string;
        agentId?: string;
        headers?: HeaderFields;
    }): Observable<any>;
    /**
     * Return whether a run of the thread is open. One that waits for its user is not. Rejects if the server cannot be reached.
     *
     * @param {{ threadId: string }} request
     */
    isRunning({ threadId }: {
        threadId: string;
    }): Promise<boolean>;
    /**
     * Cancel the runs of a thread, or only one of them, and return whether there was any. Rejects if the server cannot be reached.
     *
     * @param {{ threadId: string, runId?: string }} request
     * @returns {Promise<boolean | undefined>}
     */
    stop({ threadId, runId }: {
        threadId: string;
        runId?: string;
    }): Promise<boolean | undefined>;
    #private;
}
export type HeaderFields = {
    [name: string]: string;
};
export type RunnerOptions = {
    /**
     * where Greenroom serves AG-UI: the path of `mount_agui`, without the name of an agent
     */
    url: string | URL;
    /**
     * of every request, before those of the agent and of the page: for
     * a token of your own. A function is called for each request, and can look for the user of the present one.
     */
    headers?: HeaderFields | (() => HeaderFields) | undefined;
    /**
     * the pauses before attempts to reach the server. Each event that comes begins anew
     */
    retryMs?: number[] | undefined;
};
/**
 * what a stream is about
 */
export type Target = {
    threadId: string;
    path: string;
    body: {
        [key: string]: any;
    };
    headers: HeaderFields | undefined;
    /**
     * whether a stream without any event is complete
     */
    mayBeEmpty: boolean;
};
export type AguiEvent = {
    type: string;
    [key: string]: any;
};
import { Observable } from "rxjs";
