// The connection to one other participant: RTCPeerConnection with perfect negotiation, two fixed transceivers, ICE
// restarts, and what we send shaped to a rung of the ladder.
//
// The offering side makes both transceivers before there is any media, so that ICE and DTLS are ready while the patient
// still waits; being admitted then only puts tracks into senders that exist, which needs no negotiation.

import { RUNGS, FIRST_RUNG, type Rung } from './ladder';
import { onAnswer, onOffer } from './negotiation';
import type { Candidate, Description, IceServer } from './protocol';
import { fingerprint, tuneAudio, useful } from './sdp';

/** An answer that has not come by then will not. */
const ANSWER_MS = 4000;

export type Kind = 'audio' | 'video';

/**
 * Where encryption of frames is attached. Both are called in the very task that made the sender or receiver: Chromium
 * silently ignores a transform that is attached later, and plaintext would flow.
 */
export interface FrameHooks {
  sender?(sender: RTCRtpSender, kind: Kind): void;
  receiver?(receiver: RTCRtpReceiver, kind: Kind): void;
}

export interface LinkOptions {
  polite: boolean;
  iceServers: IceServer[];
  policy: RTCIceTransportPolicy;
  hooks?: FrameHooks;
  send(type: 'offer' | 'answer', data: Description): void;
  candidate(candidate: Candidate): void;
  /** The peer's tracks, in one stream that lives as long as the link. */
  stream(stream: MediaStream): void;
  state(state: RTCPeerConnectionState): void;
  /** The yielding side cannot follow; the other must begin a new connection. */
  lost(): void;
}

export class Link {
  readonly remote = new MediaStream();
  /** When an ICE restart or a new connection last began, by either side. */
  restartedAt: number | undefined;
  readonly openedAt = Date.now();
  #options: LinkOptions;
  #pc!: RTCPeerConnection;
  #transceivers: Partial<Record<Kind, RTCRtpTransceiver>> = {};
  #tracks: Record<Kind, MediaStreamTrack | null> = { audio: null, video: null };
  #makingOffer = false;
  #settingAnswer = false;
  #ignoring = false;
  #early: RTCIceCandidateInit[] = [];
  #rung: Rung = RUNGS[FIRST_RUNG]!;
  #tunedFor = '';
  #screen = false;
  #closed = false;
  #fresh = false;
  #offerId = 0;
  #offeredAt = 0;
  /** Descriptions are handled one after the other. */
  #queue: Promise<void> = Promise.resolve();

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#connect();
  }

  get connectionState(): RTCPeerConnectionState {
    return this.#pc.connectionState;
  }

  /** For statistics and tests. */
  get connection(): RTCPeerConnection {
    return this.#pc;
  }

  #connect(): void {
    const { iceServers, policy, polite } = this.#options;
    const pc = new RTCPeerConnection({
      iceServers,
      iceTransportPolicy: policy,
      bundlePolicy: 'max-bundle',
      rtcpMuxPolicy: 'require'
    });
    this.#pc = pc;
    this.#transceivers = {};
    this.#early = [];
    this.#ignoring = this.#makingOffer = this.#settingAnswer = false;
    pc.onnegotiationneeded = () => void this.#enqueue(() => this.#offer());
    pc.onicecandidate = ({ candidate }) => {
      if (this.#pc !== pc || !candidate) return;
      this.#options.candidate({
        candidate: candidate.candidate,
        sdp_mid: candidate.sdpMid ?? undefined,
        sdp_m_line_index: candidate.sdpMLineIndex ?? undefined,
        username_fragment: candidate.usernameFragment ?? undefined
      });
    };
    pc.ontrack = ({ transceiver, receiver, track }) => {
      const kind = track.kind as Kind;
      if (this.#transceivers[kind] === undefined) {
        this.#transceivers[kind] = transceiver;
        this.#options.hooks?.sender?.(transceiver.sender, kind);
        this.#options.hooks?.receiver?.(receiver, kind);
      }
      for (const old of this.remote.getTracks()) if (old.kind === kind) this.remote.removeTrack(old);
      this.remote.addTrack(track);
      this.#options.stream(this.remote);
    };
    pc.onconnectionstatechange = () => {
      if (this.#pc !== pc) return;
      if (pc.connectionState === 'connected') void this.#shape();
      this.#options.state(pc.connectionState);
    };
    pc.oniceconnectionstatechange = () => {
      // Some browsers tell of trouble here first.
      if (this.#pc === pc && pc.iceConnectionState === 'disconnected') this.#options.state('disconnected');
    };
    // Only the side that never yields makes transceivers; the other finds them in the offer. If both did, the offer
    // would get media sections of its own and there would be four.
    if (!polite) for (const kind of ['audio', 'video'] as const) this.#add(kind);
  }

  #add(kind: Kind): void {
    const transceiver = this.#pc.addTransceiver(kind, { direction: 'sendrecv' });
    this.#transceivers[kind] = transceiver;
    this.#options.hooks?.sender?.(transceiver.sender, kind);
    this.#options.hooks?.receiver?.(transceiver.receiver, kind);
    this.#prefer(transceiver, kind);
    void transceiver.sender.replaceTrack(this.#tracks[kind]);
  }

  #prefer(transceiver: RTCRtpTransceiver, kind: Kind): void {
    const codecs = RTCRtpReceiver.getCapabilities?.(kind)?.codecs;
    if (!codecs || !transceiver.setCodecPreferences) return;
    try {
      transceiver.setCodecPreferences(useful(kind, codecs));
    } catch {
      // A browser that has other codecs keeps its own order.
    }
  }

  #enqueue(step: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(async () => {
      if (this.#closed) return;
      try {
        await step();
      } catch (error) {
        await this.#broken(error);
      }
    });
    return this.#queue;
  }

  /** A description that cannot be set means that the two sides have lost each other: begin anew. */
  async #broken(error: unknown): Promise<void> {
    console.warn('call: negotiation failed', error);
    if (this.#closed || this.#pc.signalingState === 'closed') return;
    if (this.#options.polite) this.#options.lost();
    else this.renew();
  }

  async #offer(): Promise<void> {
    const pc = this.#pc;
    // A change that came while an exchange was under way fires again when that is over.
    if (pc.signalingState !== 'stable') return;
    try {
      this.#makingOffer = true;
      await pc.setLocalDescription();
      if (pc !== this.#pc || !pc.localDescription) return;
      this.#offerId += 1;
      this.#offeredAt = Date.now();
      const data: Description = { sdp: pc.localDescription.sdp, id: this.#offerId };
      if (this.#fresh) data.fresh = true;
      this.#fresh = false;
      this.#options.send('offer', data);
    } finally {
      this.#makingOffer = false;
    }
  }

  /** Handles an offer or answer of the peer. */
  describe(type: 'offer' | 'answer', description: Description): Promise<void> {
    return this.#enqueue(() => (type === 'offer' ? this.#takeOffer(description) : this.#takeAnswer(description)));
  }

  #state() {
    return {
      polite: this.#options.polite,
      makingOffer: this.#makingOffer,
      settingAnswer: this.#settingAnswer,
      signalingState: this.#pc.signalingState
    };
  }

  async #takeOffer(description: Description): Promise<void> {
    const known = fingerprint(this.#pc.remoteDescription?.sdp ?? '');
    const other = known !== '' && known !== fingerprint(description.sdp);
    if (description.fresh || other) {
      // The peer has made a new connection; ours leads nowhere.
      if (this.#pc.remoteDescription || !this.#options.polite) this.#replace();
    } else {
      this.#ignoring = onOffer(this.#state()) === 'ignore';
      if (this.#ignoring) return;
    }
    const pc = this.#pc;
    this.restartedAt = Date.now();
    await pc.setRemoteDescription({ type: 'offer', sdp: tuneAudio(description.sdp, this.#rung.audio) });
    this.#tunedFor = tuning(this.#rung);
    for (const transceiver of pc.getTransceivers()) {
      const kind = transceiver.receiver.track.kind as Kind;
      if (this.#transceivers[kind] !== transceiver) continue;
      if (transceiver.direction !== 'sendrecv') {
        transceiver.direction = 'sendrecv';
        this.#prefer(transceiver, kind);
      }
      if (transceiver.sender.track !== this.#tracks[kind]) await transceiver.sender.replaceTrack(this.#tracks[kind]);
    }
    await pc.setLocalDescription();
    await this.#addEarly();
    if (pc === this.#pc && pc.localDescription) {
      this.#options.send('answer', { sdp: pc.localDescription.sdp, id: description.id });
    }
    await this.#shape();
  }

  async #takeAnswer(description: Description): Promise<void> {
    if (onAnswer(this.#state()) === 'ignore' || (description.id ?? this.#offerId) !== this.#offerId) return;
    try {
      this.#settingAnswer = true;
      await this.#pc.setRemoteDescription({ type: 'answer', sdp: tuneAudio(description.sdp, this.#rung.audio) });
      this.#tunedFor = tuning(this.#rung);
    } finally {
      this.#settingAnswer = false;
    }
    await this.#addEarly();
    await this.#shape();
  }

  /** Handles a candidate of the peer. */
  addCandidate(candidate: Candidate): Promise<void> {
    return this.#enqueue(async () => {
      const init: RTCIceCandidateInit = {
        candidate: candidate.candidate,
        sdpMid: candidate.sdp_mid ?? null,
        sdpMLineIndex: candidate.sdp_m_line_index ?? null,
        usernameFragment: candidate.username_fragment ?? null
      };
      if (!this.#pc.remoteDescription) return void this.#early.push(init);
      await this.#addOne(init);
    });
  }

  async #addEarly(): Promise<void> {
    for (const init of this.#early.splice(0)) await this.#addOne(init);
  }

  async #addOne(init: RTCIceCandidateInit): Promise<void> {
    try {
      await this.#pc.addIceCandidate(init);
    } catch (error) {
      // Candidates of an offer we ignored, or of a connection that is gone, belong to nothing here.
      if (!this.#ignoring) console.debug('call: a candidate was of no use', error);
    }
  }

  /** Puts a track into its sender; no negotiation needed. Null sends nothing. */
  async setTrack(kind: Kind, track: MediaStreamTrack | null, screen = false): Promise<void> {
    this.#tracks[kind] = track;
    if (kind === 'video') this.#screen = screen;
    const sender = this.#transceivers[kind]?.sender;
    if (sender && sender.track !== track) await sender.replaceTrack(track);
    await this.#shape();
  }

  /** Sends as much as that rung allows. Audio packets of another length need an exchange of descriptions. */
  async setRung(rung: Rung): Promise<void> {
    this.#rung = rung;
    await this.#shape();
    if (this.#tunedFor && this.#tunedFor !== tuning(rung) && this.#pc.signalingState === 'stable') {
      await this.#enqueue(() => this.#offer());
    }
  }

  async #shape(): Promise<void> {
    const { audio, video } = this.#rung;
    await this.#set('audio', (encoding) => {
      encoding.maxBitrate = audio.bitrate;
      encoding.priority = 'high';
      encoding.networkPriority = 'high';
    });
    const settings = this.#tracks.video?.getSettings();
    await this.#set('video', (encoding, parameters) => {
      encoding.active = video !== null;
      if (!video) return;
      if (this.#screen) {
        // Text must stay legible: few frames, full size.
        parameters.degradationPreference = 'maintain-resolution';
        encoding.maxBitrate = Math.max(video.bitrate, 200_000);
        encoding.maxFramerate = 5;
        encoding.scaleResolutionDownBy = 1;
        return;
      }
      parameters.degradationPreference = 'balanced';
      encoding.maxBitrate = video.bitrate;
      encoding.maxFramerate = video.fps;
      // A phone held upright delivers a tall picture: the shorter side counts.
      const side = Math.min(settings?.height ?? video.height, settings?.width ?? video.height);
      encoding.scaleResolutionDownBy = Math.max(1, side / video.height);
    });
  }

  async #set(
    kind: Kind,
    change: (encoding: RTCRtpEncodingParameters, parameters: RTCRtpSendParameters) => void
  ): Promise<void> {
    const sender = this.#transceivers[kind]?.sender;
    if (!sender) return;
    const parameters = sender.getParameters();
    const encoding = parameters.encodings?.[0];
    if (!encoding) return;
    const before = JSON.stringify(parameters);
    change(encoding, parameters);
    if (JSON.stringify(parameters) === before) return;
    try {
      await sender.setParameters(parameters);
    } catch (error) {
      // Two changes at once: the later one sees the parameters anew.
      console.debug('call: parameters not set', error);
    }
  }

  /** Fresh relay credentials, used by the next restart. */
  setIceServers(iceServers: IceServer[]): void {
    this.#options.iceServers = iceServers;
    if (!this.#closed) this.#pc.setConfiguration({ ...this.#pc.getConfiguration(), iceServers });
  }

  /** Looks for a path anew; media goes on over the old one while it lasts. */
  restart(): void {
    if (this.#closed) return;
    this.restartedAt = Date.now();
    // Without an offer there is nothing to restart, and ours would be empty.
    if (this.#options.polite && !this.#pc.remoteDescription) return this.#options.lost();
    if (this.#pc.signalingState === 'have-local-offer') {
      // An offer that is still on its way is as good as a new one; one that was never answered is not.
      if (Date.now() - this.#offeredAt < ANSWER_MS) return this.#pc.restartIce();
      void this.#enqueue(async () => {
        if (this.#pc.signalingState === 'have-local-offer') await this.#pc.setLocalDescription({ type: 'rollback' });
        this.#pc.restartIce();
      });
      return;
    }
    this.#pc.restartIce();
  }

  /** Throws the connection away and begins a new one. Only for the side that offers. */
  renew(): void {
    if (this.#closed) return;
    this.#fresh = true;
    this.restartedAt = Date.now();
    this.#replace();
  }

  #replace(): void {
    const old = this.#pc;
    this.#connect();
    old.onnegotiationneeded = old.onicecandidate = old.ontrack = null;
    old.onconnectionstatechange = old.oniceconnectionstatechange = null;
    old.close();
  }

  close(): void {
    this.#closed = true;
    this.#pc.onconnectionstatechange = null;
    this.#pc.close();
    for (const track of this.remote.getTracks()) this.remote.removeTrack(track);
  }
}

/** What of a rung is told in descriptions. */
function tuning({ audio }: Rung): string {
  return `${audio.ptime}/${audio.bitrate <= 12_000 ? 'wide' : 'full'}/${audio.red}`;
}
