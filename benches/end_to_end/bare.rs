//! A proxy of Pingora's and nothing else, so that the pass-through's row tells what metering adds.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp as _;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as Tcp;
use pingora::proxy::{ProxyHttp, Session, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The gateway's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Everything goes to this address.
struct To(SocketAddr);

#[async_trait]
impl ProxyHttp for To {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

/// Serves until it is killed, and says where first.
pub(crate) fn serve(to: SocketAddr) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(accept(to));
}

#[expect(clippy::disallowed_methods, reason = "it is killed; nothing waits for its connections")]
async fn accept(to: SocketAddr) {
    let conf = ServerConf { max_retries: 1, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let proxy = Arc::new(http_proxy(&Arc::new(conf), To(to)));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("listening bare http://{}", listener.local_addr().expect("its address"));
    let (_running, stop) = watch::channel(false);
    loop {
        let (tcp, _) = listener.accept().await.expect("a connection");
        tcp.set_nodelay(true).expect("no delay");
        let (proxy, stop) = (Arc::clone(&proxy), stop.clone());
        tokio::spawn(async move {
            let stream: Stream = Box::new(Tcp::from(tcp));
            proxy.process_new(stream, &stop).await;
        });
    }
}
