// The messages of a call; the catalogue and its rules stand in crates/reach/src/consult/protocol.rs.

export type Role = 'patient' | 'clinician' | 'guest';
export type RoomState = 'waiting' | 'active' | 'ended';
export type Level = 'good' | 'fair' | 'poor';

export interface IceServer {
  urls: string[];
  username?: string;
  credential?: string;
}

/** What `POST consultations/{id}/join` answers. */
export interface JoinGrant {
  session_token: string;
  /** Path of the socket, e.g. `/ws/consultation/…`. */
  ws_url: string;
  ice_servers: IceServer[];
  expires_at: string;
  ice_transport_policy?: 'relay' | 'all' | null;
}

export interface MediaState {
  audio: boolean;
  video: boolean;
  screen: boolean;
}

export interface Quality {
  rtt_ms: number;
  loss_percent: number;
  bitrate_up_kbps: number;
  bitrate_down_kbps: number;
  path: 'direct' | 'relay' | 'unknown';
  frozen_ms?: number;
  level: Level;
}

export interface Peer {
  participant: string;
  role: Role;
  display: string;
  instance: string;
  connected: boolean;
  media: MediaState;
}

export interface ChatLine {
  id: string;
  from: string;
  role: Role;
  display: string;
  text: string;
  at: string;
}

export interface Hello {
  participant: string;
  role: Role;
  polite: boolean;
  state: RoomState;
  resumed: boolean;
  reset: boolean;
  received: number;
  seq: number;
  peers: Peer[];
  chat: ChatLine[];
  position?: number;
  admitted_at?: string;
  expires_at: string;
}

export interface Description {
  sdp: string;
  /** Tells which offer an answer answers. */
  id?: number;
  /** The sender threw its old connection away; the receiver must do so too. */
  fresh?: boolean;
}

export interface Candidate {
  candidate: string;
  sdp_mid?: string;
  sdp_m_line_index?: number;
  username_fragment?: string;
}

/** Lasting messages of the server, by type. */
export interface ServerMessages {
  peer_joined: Peer;
  peer_state: { participant: string; connected: boolean };
  peer_left: { participant: string; reason: 'left' | 'lost' | 'put_out' };
  waiting: { position: number };
  admitted: { at: string };
  offer: Description & { from: string };
  answer: Description & { from: string };
  candidate: Candidate & { from: string };
  ice_restart: { from: string; reason?: string };
  media_state: MediaState & { from: string };
  quality: Quality & { from: string };
  chat: ChatLine;
  ended: { at: string; by?: Role | null };
}
export type ServerType = keyof ServerMessages;
export type ServerMessage = { [T in ServerType]: { type: T; data: ServerMessages[T] } }[ServerType];

/** The participant a message is for; everybody else in the room when left out. */
type Addressed = { to?: string };

/** Lasting messages of the client, by type. */
export interface ClientMessages {
  offer: Description & Addressed;
  answer: Description & Addressed;
  candidate: Candidate & Addressed;
  ice_restart: { reason?: string } & Addressed;
  media_state: MediaState;
  chat: { id: string; text: string };
  quality: Quality;
  leave: Record<string, never>;
}
export type ClientType = keyof ClientMessages;

export const CHAT_CHARS_MAX = 2000;

/** Close codes of the server. */
export const CLOSE = {
  ended: 4000,
  replaced: 4001,
  expired: 4003,
  unknown: 4004,
  tooMany: 4029,
  signedOut: 4401,
  putOut: 4403
} as const;
