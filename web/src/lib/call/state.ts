// What there is to show of a call.

import type { Devices, MediaProblem } from './media';
import type { Level, MediaState, Quality, Role } from './protocol';
import type { SignallingStatus } from './signalling';

export type Phase =
  | 'idle'
  | 'joining'
  /** In the waiting room (patient), or in the room before admitting (clinician). */
  | 'waiting'
  /** Admitted; the other side's media is not there yet. */
  | 'connecting'
  | 'active'
  /** It worked and is being repaired. */
  | 'reconnecting'
  | OverPhase;

/** How a call is over for this side. */
export type OverPhase =
  | 'ended'
  /** This side left; the visit goes on. */
  | 'left'
  /** Taken over by another page of the same account. */
  | 'replaced'
  /** The right to be in it ended; the visit goes on without this side. */
  | 'put-out'
  | 'failed';

const OVER: readonly string[] = ['ended', 'left', 'replaced', 'put-out', 'failed'] satisfies OverPhase[];

export function isOver(phase: Phase): phase is OverPhase {
  return OVER.includes(phase);
}

export interface ChatEntry {
  id: string;
  mine: boolean;
  display: string;
  text: string;
  at: string;
  status: 'sending' | 'sent' | 'refused';
}

export interface PeerView {
  display: string;
  role: Role;
  /** Its signalling is there; media may still flow when it is not. */
  connected: boolean;
  media: MediaState;
}

export interface CallState {
  phase: Phase;
  role: Role | null;
  /** Place in the queue, 1 is next. */
  position: number | null;
  signalling: SignallingStatus;
  peer: PeerView | null;
  /** Who was there before and had to leave, because the right to be there ended; until somebody comes. */
  putOut: string | null;
  muted: boolean;
  cameraOn: boolean;
  audioOnly: boolean;
  sharing: boolean;
  /** The camera is on, but the link is too thin for a picture. */
  pictureHeldBack: boolean;
  problems: { microphone?: MediaProblem; camera?: MediaProblem };
  devices: Devices;
  localStream: MediaStream | null;
  remoteStream: MediaStream | null;
  quality: { own: Quality | null; peer: Quality | null; level: Level | null };
  chat: ChatEntry[];
  unread: number;
  admittedAt: string | null;
  endedAt: string | null;
  rung: number;
  speaker: string | undefined;
  error: unknown;
}

export const EMPTY_STATE: CallState = {
  phase: 'idle',
  role: null,
  position: null,
  signalling: 'connecting',
  peer: null,
  putOut: null,
  muted: false,
  cameraOn: false,
  audioOnly: false,
  sharing: false,
  pictureHeldBack: false,
  problems: {},
  devices: { cameras: [], microphones: [], speakers: [] },
  localStream: null,
  remoteStream: null,
  quality: { own: null, peer: null, level: null },
  chat: [],
  unread: 0,
  admittedAt: null,
  endedAt: null,
  rung: 0,
  speaker: undefined,
  error: undefined
};
