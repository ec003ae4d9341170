//! One connection: its settings, its prepared statements, and many of them in one round trip.
//!
//! Why it exists: a transaction of sixty-four commands is two or three round trips, not hundreds. What it refuses to
//! know: what the statements mean.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Error, NoTls, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::state::LedgerFault;
use crate::state::sql::{self, Row, Value};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection with its prepared statements.
pub(super) struct Session {
    client: Client,
    prepared: Mutex<HashMap<&'static str, Statement>>,
}

/// What drives a connection; it ends when the connection does.
pub(super) type Driver = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A statement with its parameters.
#[derive(Debug)]
pub(super) struct Ask(pub(super) &'static str, pub(super) Vec<Value>);

/// What a statement answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    pub(super) changed: u64,
}

impl Session {
    /// Connects. `timeouts` are the server's own, in milliseconds: of a statement, and of waiting for a lock.
    pub(super) async fn connect(
        config: &Config,
        timeouts: (u32, u32),
        tls: Option<&MakeRustlsConnect>,
    ) -> Result<(Self, Driver), Error> {
        let mut config = config.clone();
        let given = config.get_options().unwrap_or_default();
        let (statement, lock) = timeouts;
        config.options(format!(
            "{given} -c statement_timeout={statement} -c lock_timeout={lock} \
             -c idle_in_transaction_session_timeout={statement}"
        ));
        config.connect_timeout(CONNECT).tcp_user_timeout(CONNECT).application_name("tollgate");
        let (client, driver): (_, Driver) = if let Some(tls) = tls {
            let (client, connection) = config.connect(tls.clone()).await?;
            (client, Box::pin(connection))
        } else {
            let (client, connection): (_, tokio_postgres::Connection<Socket, NoTlsStream>) =
                config.connect(NoTls).await?;
            (client, Box::pin(connection))
        };
        Ok((Self { client, prepared: Mutex::default() }, driver))
    }

    /// Prepares what is not prepared yet, so that [`Session::pipeline`] sends in order.
    pub(super) async fn ready(&self, statements: impl Iterator<Item = &'static str>) -> Result<(), Error> {
        for sql in statements {
            if self.known(sql).is_none() {
                let statement = self.client.prepare(&sql::for_postgres(sql)).await?;
                self.prepared.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement);
            }
        }
        Ok(())
    }

    /// Sends all statements at once and reads all answers; the first error stands for all that follow it.
    pub(super) async fn pipeline(&self, asks: Vec<Ask>) -> Result<Vec<Answer>, Error> {
        self.ready(asks.iter().map(|ask| ask.0)).await?;
        let mut running: Vec<Sent<'_>> = asks.into_iter().map(|ask| Sent::Waiting(Box::pin(self.send(ask)))).collect();
        // Each poll goes through them in order, so the first sends them in order.
        poll_fn(|context| {
            let mut pending = false;
            for sent in &mut running {
                if let Sent::Waiting(work) = sent {
                    match work.as_mut().poll(context) {
                        Poll::Ready(answer) => *sent = Sent::Done(answer),
                        Poll::Pending => pending = true,
                    }
                }
            }
            if pending { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        running.into_iter().map(Sent::answer).collect()
    }

    /// Sends one statement.
    pub(super) async fn ask(&self, sql: &'static str, parameters: Vec<Value>) -> Result<Answer, Error> {
        self.ready(std::iter::once(sql)).await?;
        self.send(Ask(sql, parameters)).await
    }

    /// Runs text of any number of statements.
    pub(super) async fn run(&self, text: &str) -> Result<(), Error> {
        self.client.batch_execute(text).await
    }

    async fn send(&self, Ask(sql, parameters): Ask) -> Result<Answer, Error> {
        let statement = match self.known(sql) {
            Some(statement) => statement,
            None => self.client.prepare(&sql::for_postgres(sql)).await?,
        };
        let parameters: Vec<Bound> = parameters.into_iter().map(Bound).collect();
        let stream = self.client.query_raw(&statement, parameters).await?;
        let mut stream = std::pin::pin!(stream);
        let mut answer = Answer::default();
        while let Some(row) = stream.try_next().await? {
            answer.rows.push(read(&row)?);
        }
        answer.changed = stream.rows_affected().unwrap_or(0);
        Ok(answer)
    }

    fn known(&self, sql: &'static str) -> Option<Statement> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
    }
}

enum Sent<'a> {
    Waiting(Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send + 'a>>),
    Done(Result<Answer, Error>),
}

impl Sent<'_> {
    fn answer(self) -> Result<Answer, Error> {
        match self {
            Self::Done(answer) => answer,
            // Nothing waits when the pipeline has ended.
            Self::Waiting(_) => Ok(Answer::default()),
        }
    }
}

/// Roots of this machine, unless the address says that there is no TLS. Without roots only `sslmode=require` fails.
pub(super) fn tls(config: &Config) -> Result<Option<MakeRustlsConnect>, LedgerFault> {
    if config.get_ssl_mode() == SslMode::Disable {
        return Ok(None);
    }
    crate::transport::install_tls();
    match MakeRustlsConnect::with_native_certs() {
        Ok((tls, _)) => Ok(Some(tls)),
        Err(_) if config.get_ssl_mode() == SslMode::Prefer => Ok(None),
        Err(_) => Err(LedgerFault::Unavailable("this machine has no certificates to trust its TLS by".into())),
    }
}

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A claim was taken between the look and the write: by another replica, whom the next look finds, or by a command of
    /// the same batch.
    Claimed,
    /// Two transactions were in each other's way: the same again may do.
    Conflict,
    /// The connection is gone; what was under way may have happened.
    Lost,
    /// The server refused it, and nothing of it happened.
    Refused,
    /// It breaks a rule of the schema.
    Rule,
}

/// The index that lets one purchase hold a claim.
const CLAIM: &str = "generation_claim";

/// What this error is about.
pub(super) fn kind(error: &Error) -> Kind {
    let constraint = error.as_db_error().and_then(tokio_postgres::error::DbError::constraint);
    match error.code() {
        Some(_) if constraint == Some(CLAIM) => Kind::Claimed,
        Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED) => Kind::Conflict,
        Some(code) if code.code().starts_with("23") => Kind::Rule,
        // Class 57P: the server ends the connection.
        Some(code) if code.code().starts_with("57P") => Kind::Lost,
        Some(_) => Kind::Refused,
        None => Kind::Lost,
    }
}

/// The store's own words.
pub(super) fn unavailable(error: &Error) -> LedgerFault {
    let said = error.as_db_error().map(|said| said.message().to_owned());
    LedgerFault::Unavailable(said.unwrap_or_else(|| {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    }))
}

/// A parameter as Postgres takes it.
#[derive(Debug)]
struct Bound(Value);

impl ToSql for Bound {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(number) if *ty == Type::INT4 => i32::try_from(*number)?.to_sql(ty, out),
            Value::Int(number) => number.to_sql(ty, out),
            Value::Real(number) => number.to_sql(ty, out),
            Value::Text(text) => text.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn read(row: &tokio_postgres::Row) -> Result<Row, Error> {
    let cell = |(at, column): (usize, &tokio_postgres::Column)| {
        let value = match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(at)?.map(Value::Int),
            Type::INT4 => row.try_get::<_, Option<i32>>(at)?.map(|number| Value::Int(number.into())),
            Type::BOOL => row.try_get::<_, Option<bool>>(at)?.map(|yes| Value::Int(yes.into())),
            Type::FLOAT8 => row.try_get::<_, Option<f64>>(at)?.map(Value::Real),
            _ => row.try_get::<_, Option<String>>(at)?.map(Value::Text),
        };
        Ok(value.unwrap_or(Value::Null))
    };
    row.columns().iter().enumerate().map(cell).collect::<Result<_, _>>().map(Row)
}
