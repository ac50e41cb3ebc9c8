import { describe, expect, it } from 'vitest';
import { FIRST_RUNG, FIRST_VIDEO_RUNG, Ladder, RUNGS, fitting, type Sample } from './ladder';
import { onAnswer, onOffer, shouldRestart } from './negotiation';
import { StallWatch, between, judge, read, summarise, type Counters } from './quality';
import { fingerprint, tuneAudio, useful } from './sdp';
import { Inbox, Outbox, backoff } from './sequence';
import { WORDS, wordsIn } from './words';

describe('ladder', () => {
  const calm = { available: 10_000_000, lossPercent: 0, rttMs: 60, sent: 300_000 };
  const run = (ladder: Ladder, from: number, seconds: number, figures: Partial<Sample>) => {
    for (let second = 0; second < seconds; second += 1) ladder.sample({ at: (from + second) * 1000, ...calm, ...figures });
    return ladder.rung;
  };

  it('knows which rung fits', () => {
    expect([0, 34_999, 35_000, 64_000, 120_000, 300_000, 5_000_000].map(fitting)).toEqual([0, 0, 1, 2, 3, 4, 6]);
    expect(FIRST_VIDEO_RUNG).toBe(2);
  });
  it('drops within two seconds, two rungs at most at once, and drops the picture before the sound', () => {
    const ladder = new Ladder();
    expect(run(ladder, 0, 2, { available: 30_000 })).toBe(FIRST_RUNG - 2);
    expect(run(ladder, 2, 5, { available: 30_000, sent: 40_000 })).toBe(0);
    expect(RUNGS[ladder.rung]!.video).toBeNull();
    expect(RUNGS[0]!.audio.bitrate).toBeGreaterThan(0);
  });
  it('does not believe an estimate that only follows what is sent', () => {
    expect(run(new Ladder(2), 0, 5, { available: 30_000, sent: 15_000 })).toBe(2);
    expect(run(new Ladder(1), 0, 60, { available: 30_000, sent: 10_000 })).toBeGreaterThan(1);
  });
  it('holds still on one bad second', () => {
    const ladder = new Ladder();
    run(ladder, 0, 1, { available: 100_000 });
    expect(run(ladder, 1, 3, {})).toBe(FIRST_RUNG);
  });
  it('steps down on heavy loss whatever the estimate says', () => {
    expect(run(new Ladder(), 0, 1, { lossPercent: 20 })).toBe(FIRST_RUNG - 1);
    // The next reports tell of the time before.
    expect(run(new Ladder(), 0, 3, { lossPercent: 20 })).toBe(FIRST_RUNG - 1);
  });
  it('takes a long path for what it is, and a queue for what it is', () => {
    const ladder = new Ladder(2);
    run(ladder, 0, 2, { rttMs: 60 });
    // The path has become longer for good: after a while that is no queue any more.
    expect(run(ladder, 2, 45, { rttMs: 700 })).toBeGreaterThan(2);
  });
  it('climbs only after ten calm seconds and with headroom', () => {
    const ladder = new Ladder(2);
    expect(run(ladder, 0, 10, {})).toBe(2);
    expect(run(ladder, 10, 1, {})).toBe(3);
    expect(run(ladder, 11, 6, {})).toBe(4);
    const tight = new Ladder(3);
    expect(run(tight, 0, 60, { available: 310_000, sent: 110_000 })).toBe(3);
  });
  it('tries the picture again on a calm link although the estimate cannot know', () => {
    expect(run(new Ladder(1), 0, 11, { available: 40_000 })).toBe(2);
  });
  it('waits longer after a climb that failed', () => {
    const ladder = new Ladder(2);
    run(ladder, 0, 11, {});
    expect(ladder.rung).toBe(3);
    run(ladder, 11, 1, { lossPercent: 20 });
    expect(ladder.rung).toBe(2);
    expect(run(ladder, 12, 20, {})).toBe(2);
    expect(run(ladder, 32, 5, {})).toBe(3);
  });
  it('stays below its limit', () => {
    const ladder = new Ladder();
    ladder.limit(3);
    expect(run(ladder, 0, 100, {})).toBe(3);
  });
});

describe('negotiation', () => {
  const state = { polite: false, makingOffer: false, settingAnswer: false, signalingState: 'stable' as RTCSignalingState };
  it('lets one offer win when two cross', () => {
    expect(onOffer(state)).toBe('accept');
    const crossed = { ...state, signalingState: 'have-local-offer' as RTCSignalingState };
    expect(onOffer(crossed)).toBe('ignore');
    expect(onOffer({ ...crossed, polite: true })).toBe('accept');
    expect(onOffer({ ...state, makingOffer: true })).toBe('ignore');
    expect(onOffer({ ...crossed, settingAnswer: true })).toBe('accept');
  });
  it('takes answers only to an offer that stands', () => {
    expect(onAnswer(state)).toBe('ignore');
    expect(onAnswer({ ...state, signalingState: 'have-local-offer' })).toBe('accept');
  });
  it('restarts at once on one side, later on the other, never twice', () => {
    const trouble = { polite: false, now: 10_000, troubleAt: 10_000, restartedAt: undefined, peerConnected: true };
    expect(shouldRestart(trouble)).toBe(true);
    expect(shouldRestart({ ...trouble, polite: true })).toBe(false);
    expect(shouldRestart({ ...trouble, polite: true, now: 11_000 })).toBe(true);
    expect(shouldRestart({ ...trouble, restartedAt: 8_000 })).toBe(false);
    expect(shouldRestart({ ...trouble, restartedAt: 5_000 })).toBe(true);
    expect(shouldRestart({ ...trouble, peerConnected: false })).toBe(false);
  });
});

describe('sequence', () => {
  it('keeps what is not acknowledged and takes nothing twice', () => {
    const outbox = new Outbox();
    outbox.push('chat', 'a');
    outbox.push('offer', 'b');
    outbox.push('chat', 'c');
    outbox.acknowledge(1);
    expect(outbox.pending.map((message) => message.seq)).toEqual([2, 3]);
    outbox.restart();
    expect(outbox.pending).toEqual([{ seq: 1, type: 'chat', data: 'c' }]);
    expect(outbox.push('chat', 'd').seq).toBe(2);

    const inbox = new Inbox();
    expect(inbox.accept(1)).toBe('new');
    expect(inbox.accept(1)).toBe('repeated');
    expect(inbox.accept(3)).toBe('gap');
    inbox.reset(7);
    expect(inbox.accept(8)).toBe('new');
    expect(inbox.last).toBe(8);
  });
  it('waits longer each time, with a bound, never all at once', () => {
    expect([0, 1, 2, 5, 50].map((attempt) => backoff(attempt, 1))).toEqual([250, 500, 1000, 8000, 8000]);
    expect(backoff(5, 0)).toBe(4000);
  });
});

describe('quality', () => {
  const zero = read([], 0);
  const report = (at: number, change: Record<string, number>): Counters =>
    read(
      [
        ['T', { id: 'T', type: 'transport', selectedCandidatePairId: 'P', bytesSent: change.sent ?? 0, bytesReceived: 0, packetsReceived: 9 }],
        ['P', { id: 'P', type: 'candidate-pair', currentRoundTripTime: (change.rtt ?? 50) / 1000, availableOutgoingBitrate: 500_000, localCandidateId: 'L', remoteCandidateId: 'R' }],
        ['L', { id: 'L', type: 'local-candidate', candidateType: 'host' }],
        ['R', { id: 'R', type: 'remote-candidate', candidateType: 'relay' }],
        ['V', { id: 'V', type: 'inbound-rtp', kind: 'video', packetsReceived: change.received ?? 0, packetsLost: change.lost ?? 0, totalFreezesDuration: change.frozen ?? 0, framesDecoded: 5 }],
        ['A', { id: 'A', type: 'inbound-rtp', kind: 'audio', packetsReceived: 0, packetsLost: 0, audioLevel: 0.25 }]
      ],
      at
    );
  it('reads what matters and judges it', () => {
    const first = report(0, {});
    expect(first).toMatchObject({ rttMs: 50, availableOutgoing: 500_000, path: 'relay', audioLevel: 0.25 });
    const later = report(2000, { sent: 100_000, received: 95, lost: 5, frozen: 0.2, rtt: 120 });
    const figures = between(first, later);
    expect(figures).toMatchObject({ rtt_ms: 120, loss_percent: 5, bitrate_up_kbps: 400, frozen_ms: 200, path: 'relay' });
    expect(judge(figures, 0, false)).toBe('fair');
    expect(judge(figures, 30, false)).toBe('poor');
    expect(judge(figures, 0, true)).toBe('poor');
    expect(judge({ ...figures, loss_percent: 0, frozen_ms: 0 }, 0, false)).toBe('good');
    expect(between(zero, zero).bitrate_up_kbps).toBe(0);
  });
  it('summarises by the word that lasted', () => {
    const one = { rtt_ms: 100, loss_percent: 1, bitrate_up_kbps: 10, bitrate_down_kbps: 20, path: 'direct' as const, frozen_ms: 5 };
    expect(summarise([])).toBeUndefined();
    expect(summarise([{ ...one, level: 'good' }, { ...one, level: 'good' }, { ...one, rtt_ms: 400, level: 'poor' }])).toEqual({
      ...one,
      rtt_ms: 200,
      frozen_ms: 15,
      level: 'good'
    });
  });
  it('notices silence after flow, and only then', () => {
    const watch = new StallWatch();
    expect(watch.sample(0, 0, 50)).toBe(0);
    expect(watch.sample(5000, 0, 50)).toBe(0);
    watch.sample(5500, 10, 50);
    expect(watch.sample(6000, 10, 50)).toBe(0);
    expect(watch.sample(6500, 10, 50)).toBe(1000);
    expect(watch.sample(7000, 11, 50)).toBe(0);
    expect(watch.sample(8500, 11, 700)).toBe(0);
    expect(watch.sample(9200, 11, 700)).toBe(2200);
    watch.rest();
    expect(watch.sample(20_000, 11, 50)).toBe(0);
  });
});

describe('descriptions', () => {
  const sdp = [
    'v=0',
    'a=fingerprint:sha-256 AA:BB',
    'm=audio 9 UDP/TLS/RTP/SAVPF 111 63',
    'a=rtpmap:111 opus/48000/2',
    'a=fmtp:111 minptime=10;useinbandfec=1',
    'a=rtpmap:63 red/48000/2',
    'a=fmtp:63 111/111',
    'm=video 9 UDP/TLS/RTP/SAVPF 96',
    'a=rtpmap:96 VP8/90000',
    ''
  ].join('\r\n');
  it('tells the encoder what the rung says and leaves the rest alone', () => {
    const thin = tuneAudio(sdp, RUNGS[1]!.audio);
    expect(thin).toContain('m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n');
    expect(thin).toContain('a=ptime:60\r\na=maxptime:60\r\nm=video');
    expect(thin).toMatch(/a=fmtp:111 minptime=10;useinbandfec=1;maxaveragebitrate=12000;usedtx=1;maxplaybackrate=16000\r\n/);
    expect(thin.endsWith('m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n')).toBe(true);
    const best = tuneAudio(thin, RUNGS[4]!.audio);
    expect(best).toContain('m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n');
    expect(best.match(/a=ptime/g)).toHaveLength(1);
    expect(fingerprint(best)).toBe('sha-256 AA:BB');
  });
  it('keeps few codecs', () => {
    const codecs = ['video/VP9', 'video/rtx', 'video/VP8', 'video/AV1', 'video/H264'].map((mimeType) => ({
      mimeType,
      sdpFmtpLine: mimeType === 'video/H264' ? 'packetization-mode=1;profile-level-id=42e01f' : undefined
    }));
    expect(useful('video', codecs).map((codec) => codec.mimeType)).toEqual(['video/VP8', 'video/H264', 'video/rtx']);
  });
});

describe('words', () => {
  it('are complete in both languages', () => {
    expect(Object.keys(WORDS.sw).sort()).toEqual(Object.keys(WORDS.en).sort());
    const names = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();
    for (const [key, text] of Object.entries(WORDS.en)) expect(names(WORDS.sw[key]!), key).toEqual(names(text));
    expect(wordsIn('sw')('call.waiting.position', { position: 3 })).toBe('Nafasi yako kwenye foleni: 3');
  });
});
