//! The board of flights on Redis: leases, fences, marks and results; never a picture.
//!
//! Why it exists: replicas that share a Redis pay once for what they are asked at once. Each script is atomic and reads
//! the server's own clock. Every key of a flight is in one slot. Messages go over one channel and only save waiting.
//! What it refuses to know: what a result says. What is here may be lost at any moment; money is in the ledger.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::board::{Ask, Away, Begun, Board, KEEP, LEASE, Seen};
use crate::state::redis::{Redis, Script};
use crate::transport::Boxed;

/// Where results are told, by their keys.
const CHANNEL: &str = "tollgate:flights";
/// Between two tries to hear the channel.
const BREATH: Duration = Duration::from_millis(500);

/// What every script begins with: the time, and how the flight stands.
macro_rules! script {
    ($body:literal) => {
        concat!(
            "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'fence', 'until', 'bound', 'phase')
local fence, phase = held[1], held[4]
local function result(of) return KEYS[1] .. ':' .. of end
local function left(at) return string.format('%.0f', math.max(0, (tonumber(at) or 0) - now)) end
",
            $body
        )
    };
}

/// owner, lease, replay, take over, keep → `{kind, fence, …}`.
const BEGIN: &str = script!(
    "local took = 0
if phase == 'done' then
  local text = ARGV[3] == '1' and redis.call('GET', result(fence))
  if text then return {'landed', fence, text} end
elseif phase then
  local lease = left(held[2])
  if phase == 'departed' then
    local bound = left(held[3])
    if lease ~= '0' or bound ~= '0' or ARGV[4] ~= '1' then return {'aloft', fence, lease, bound} end
    took = 1
  elseif lease ~= '0' then
    return {'aloft', fence, lease, ''}
  end
end
local next = time[1] * 1000000 + time[2]
if fence and next <= tonumber(fence) then next = tonumber(fence) + 1 end
next = string.format('%.0f', next)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fence', next, 'owner', ARGV[1], 'phase', 'leased',
  'until', string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2] + ARGV[5])
return {'lead', next, tostring(took)}"
);

/// fence, lease → whether it is ours.
const BEAT_ON: &str = script!(
    "if fence ~= ARGV[1] or phase == 'done' then return 0 end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]))
if redis.call('PTTL', KEYS[1]) < ARGV[2] * 2 then redis.call('PEXPIRE', KEYS[1], ARGV[2] * 2) end
return 1"
);

/// fence, lease, bound, keep → whether it is ours.
const DEPART: &str = script!(
    "if fence ~= ARGV[1] or phase == 'done' then return 0 end
redis.call('HSET', KEYS[1], 'phase', 'departed', 'until', string.format('%.0f', now + ARGV[2]),
  'bound', string.format('%.0f', now + ARGV[3]))
redis.call('PEXPIRE', KEYS[1], ARGV[2] + ARGV[3] + ARGV[4])
return 1"
);

/// fence, text, keep, channel, key → whether it is the first.
const FINISH: &str = script!(
    "redis.call('SET', result(ARGV[1]), ARGV[2], 'PX', ARGV[3], 'NX')
if phase == 'done' then return 0 end
if fence and fence ~= ARGV[1] then redis.call('SET', result(fence), ARGV[2], 'PX', ARGV[3], 'NX') end
if fence then
  redis.call('HSET', KEYS[1], 'phase', 'done')
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1"
);

/// fence, channel, key.
const RELEASE: &str = script!(
    "if fence == ARGV[1] and phase ~= 'done' then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return 1"
);

/// fence → `{kind, …}`.
const LOOK: &str = script!(
    "local text = redis.call('GET', result(ARGV[1]))
if text then return {'landed', ARGV[1], text} end
if fence ~= ARGV[1] or phase == 'done' then return {'gone', ARGV[1]} end
return {'aloft', fence, left(held[2]), phase == 'departed' and left(held[3]) or ''}"
);

/// Flights shared through a Redis.
pub struct RedisBoard {
    redis: Redis,
    begin: Script,
    beat: Script,
    depart: Script,
    finish: Script,
    release: Script,
    look: Script,
    news: broadcast::Sender<Arc<str>>,
    ear: JoinHandle<()>,
}

impl Drop for RedisBoard {
    fn drop(&mut self) {
        self.ear.abort();
    }
}

impl RedisBoard {
    /// A board on this Redis. Must be called within a runtime.
    #[expect(
        clippy::disallowed_methods,
        reason = "one task listens; it is aborted with the board and has no work to end"
    )]
    pub fn new(redis: &Redis) -> Self {
        let news = broadcast::Sender::new(1_024);
        let ear = tokio::spawn(hear(redis.client().clone(), news.clone()));
        Self {
            redis: redis.clone(),
            begin: Script::new(BEGIN),
            beat: Script::new(BEAT_ON),
            depart: Script::new(DEPART),
            finish: Script::new(FINISH),
            release: Script::new(RELEASE),
            look: Script::new(LOOK),
            news,
            ear,
        }
    }

    async fn yes(&self, script: &Script, key: &str, args: &[Vec<u8>]) -> Result<bool, Away> {
        let answer: Result<i64, _> = self.redis.run(script, &[name(key)], args).await;
        answer.map(|answer| answer == 1).map_err(away)
    }

    async fn told(&self, script: &Script, key: &str, args: &[Vec<u8>]) -> Result<Vec<String>, Away> {
        self.redis.run(script, &[name(key)], args).await.map_err(away)
    }
}

/// One slot for all of a flight's keys.
fn name(key: &str) -> String {
    format!("tollgate:flight:{{{key}}}")
}

fn away(why: impl std::fmt::Debug) -> Away {
    Away(format!("{why:?}"))
}

fn text(value: &impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn millis(time: Duration) -> Vec<u8> {
    text(&time.as_millis())
}

/// `aloft`, `gone` or `landed`, with the fence that it is of.
fn seen(told: &[String]) -> Option<(u64, Seen)> {
    let fence = told.get(1)?.parse().ok()?;
    let time = |at: usize| told.get(at).and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let seen = match told.first()?.as_str() {
        "aloft" => Seen::Aloft { lease: time(2)?, departed: time(3) },
        "gone" => Seen::Gone,
        "landed" => Seen::Landed(told.get(2)?.clone()),
        _ => return None,
    };
    Some((fence, seen))
}

impl Board for RedisBoard {
    fn begin<'a>(&'a self, ask: &'a Ask) -> Boxed<'a, Result<Begun, Away>> {
        Box::pin(async move {
            let flag = |on: bool| text(&u8::from(on));
            let args = [text(&ask.owner), millis(LEASE), flag(ask.replay), flag(ask.take_over), millis(KEEP)];
            let told = self.told(&self.begin, &ask.key, &args).await?;
            if told.first().is_some_and(|kind| kind == "lead") {
                let fence = told.get(1).and_then(|fence| fence.parse().ok()).ok_or_else(|| away(&told))?;
                return Ok(Begun::Lead { fence, took_over: told.get(2).is_some_and(|took| took == "1") });
            }
            let (fence, seen) = seen(&told).ok_or_else(|| away(&told))?;
            Ok(Begun::Follow { fence, seen })
        })
    }

    fn beat<'a>(&'a self, key: &'a str, fence: u64) -> Boxed<'a, Result<bool, Away>> {
        Box::pin(async move { self.yes(&self.beat, key, &[text(&fence), millis(LEASE)]).await })
    }

    fn depart<'a>(&'a self, key: &'a str, fence: u64, bound: Duration) -> Boxed<'a, Result<bool, Away>> {
        Box::pin(async move {
            let args = [text(&fence), millis(LEASE), millis(bound), millis(KEEP)];
            self.yes(&self.depart, key, &args).await
        })
    }

    fn finish<'a>(&'a self, key: &'a str, fence: u64, result: &'a str) -> Boxed<'a, Result<bool, Away>> {
        Box::pin(async move {
            let args = [text(&fence), text(&result), millis(KEEP), text(&CHANNEL), text(&key)];
            self.yes(&self.finish, key, &args).await
        })
    }

    fn release<'a>(&'a self, key: &'a str, fence: u64) -> Boxed<'a, Result<(), Away>> {
        Box::pin(
            async move { self.yes(&self.release, key, &[text(&fence), text(&CHANNEL), text(&key)]).await.map(drop) },
        )
    }

    fn look<'a>(&'a self, key: &'a str, fence: u64) -> Boxed<'a, Result<Seen, Away>> {
        Box::pin(async move {
            let told = self.told(&self.look, key, &[text(&fence)]).await?;
            seen(&told).map(|(_, seen)| seen).ok_or_else(|| away(&told))
        })
    }

    fn news<'a>(&'a self, key: &'a str) -> Boxed<'a, ()> {
        let mut news = self.news.subscribe();
        Box::pin(async move {
            loop {
                match news.recv().await {
                    Ok(told) if *told == *key => return,
                    // Too many at once: ours may have been among them.
                    Err(broadcast::error::RecvError::Lagged(_)) => return,
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
                }
            }
        })
    }
}

/// Passes on what the channel says; hears it again after each loss.
async fn hear(client: redis::Client, news: broadcast::Sender<Arc<str>>) {
    loop {
        if let Ok(mut heard) = client.get_async_pubsub().await
            && heard.subscribe(CHANNEL).await.is_ok()
        {
            let mut messages = heard.on_message();
            while let Some(message) = messages.next().await {
                if let Ok(key) = message.get_payload::<String>() {
                    // Nobody may be waiting.
                    let _ = news.send(key.into());
                }
            }
        }
        sleep(BREATH).await;
    }
}
