//! How a Redis is set up.
//!
//! Why it exists: a server that may forget buckets and leases at will, or that is a replica, is found before it is relied
//! upon. What it refuses to know: what is to be done about it. To look at another setting: a field here, of `INFO`.

use super::{Away, Redis};

/// What `INFO` says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Its version.
    pub version: String,
    /// `master` or `slave`, in its own words.
    pub role: String,
    /// Bytes that it may use; zero for as many as there are.
    pub maxmemory: u64,
    /// What it forgets when they are used: `noeviction` is nothing.
    pub eviction: String,
    /// Whether it writes down every change.
    pub append_only: bool,
}

impl Setup {
    fn of(info: &str) -> Self {
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        Self {
            version: field("redis_version"),
            role: field("role"),
            maxmemory: field("maxmemory").parse().unwrap_or(0),
            eviction: field("maxmemory_policy"),
            append_only: field("aof_enabled") == "1",
        }
    }

    /// Whether it may forget keys that are still wanted.
    pub fn forgets(&self) -> bool {
        self.maxmemory > 0 && self.eviction != "noeviction"
    }
}

impl Redis {
    /// Asks how it is set up.
    pub async fn setup(&self) -> Result<Setup, Away> {
        let info: String = self.ask(&redis::cmd("INFO")).await?;
        Ok(Setup::of(&info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_by_its_names() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nmaxmemory:1048576\r\nmaxmemory_human:1.00M\r\n\
                    maxmemory_policy:allkeys-lru\r\naof_enabled:0\r\n";
        let setup = Setup::of(info);
        assert_eq!((setup.version.as_str(), setup.role.as_str(), setup.maxmemory), ("7.0.15", "master", 1_048_576));
        assert!(setup.forgets() && !setup.append_only);
        assert!(!Setup { eviction: "noeviction".to_owned(), ..setup.clone() }.forgets());
        assert!(!Setup { maxmemory: 0, ..setup }.forgets());
    }
}
