// The decisions of "perfect negotiation" (W3C WebRTC §10.7), apart from the connection so that they can be tested. Pure.

export interface NegotiationState {
  polite: boolean;
  makingOffer: boolean;
  /** Setting a remote answer: the connection is about to be stable. */
  settingAnswer: boolean;
  signalingState: RTCSignalingState;
}

/** What to do with an offer: `accept` (rolling back our own if need be) or `ignore`, because ours wins. */
export function onOffer(state: NegotiationState): 'accept' | 'ignore' {
  const ready = !state.makingOffer && (state.signalingState === 'stable' || state.settingAnswer);
  return ready || state.polite ? 'accept' : 'ignore';
}

/** Whether an answer belongs to an offer we still hold. */
export function onAnswer(state: NegotiationState): 'accept' | 'ignore' {
  return state.signalingState === 'have-local-offer' ? 'accept' : 'ignore';
}

export interface RestartState {
  polite: boolean;
  now: number;
  /** When media stopped or the network changed. */
  troubleAt: number;
  /** When a restart last began, by either side. */
  restartedAt: number | undefined;
  peerConnected: boolean;
}

/** The polite side gives the other a head start, so that both do not restart at once. */
const POLITE_WAIT_MS = 900;
/** A restart may take this long before another is tried. */
const RESTART_MS = 4000;

/** Whether to restart ICE now. */
export function shouldRestart(state: RestartState): boolean {
  if (!state.peerConnected) return false;
  if (state.restartedAt !== undefined && state.now - state.restartedAt < RESTART_MS) return false;
  return state.now - state.troubleAt >= (state.polite ? POLITE_WAIT_MS : 0);
}
