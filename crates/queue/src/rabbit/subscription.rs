//! Listening to a fanout: a queue of one's own for as long as the session lasts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::session::{Session, lost, settlement};
use crate::port::{Fanout, QueueError, Subscription};
use crate::topology::SUBSCRIPTION_BACKLOG;

/// Bodies held in this process for a listener that is slower than they come; the rest waits at the broker.
const AHEAD: u16 = 256;
/// The wait before attaching again on a session that seemed fine.
const ATTACH_PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn subscribe(
    shared: &Arc<Shared>,
    fanout: Fanout,
) -> Result<Box<dyn Subscription>, QueueError> {
    let (bodies, received) = mpsc::channel(AHEAD.into());
    let (attached, is_attached) = oneshot::channel();
    tokio::spawn(run(Arc::clone(shared), fanout, bodies, attached));
    is_attached.await.map_err(|_| QueueError::Closed)?;
    Ok(Box::new(RabbitSubscription { bodies: received }))
}

struct RabbitSubscription {
    bodies: mpsc::Receiver<Bytes>,
}

#[async_trait]
impl Subscription for RabbitSubscription {
    async fn next(&mut self) -> Option<Bytes> {
        self.bodies.recv().await
    }
}

async fn run(
    shared: Arc<Shared>,
    fanout: Fanout,
    bodies: mpsc::Sender<Bytes>,
    attached: oneshot::Sender<()>,
) {
    let mut attached = Some(attached);
    let listening = async {
        while let Ok(session) = shared.session().await {
            let exchange = shared.config.topology.fanout(fanout);
            if let Err(error) = listen(&session, &exchange, &bodies, &mut attached).await {
                tracing::warn!(exchange, %error, "subscription lost, attaching again");
                let connected = session.consuming.status().connected();
                if !connected || session.redeclare(&shared.config.topology).await.is_err() {
                    session.fail();
                }
                tokio::time::sleep(ATTACH_PAUSE).await;
            }
        }
    };
    tokio::select! {
        () = listening => {}
        () = bodies.closed() => {}
        () = shared.closed.cancelled() => {}
    }
}

/// Passes on bodies until the session or the channel ends.
async fn listen(
    session: &Session,
    exchange: &str,
    bodies: &mpsc::Sender<Bytes>,
    attached: &mut Option<oneshot::Sender<()>>,
) -> Result<(), QueueError> {
    let channel = session.consuming.create_channel().await.map_err(lost)?;
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-max-length".into(),
        AMQPValue::LongLongInt(SUBSCRIPTION_BACKLOG.into()),
    );
    let queue = channel
        .queue_declare(ShortString::default(), options, arguments)
        .await
        .map_err(lost)?;
    let (name, key) = (queue.name().clone(), ShortString::default());
    let bound = channel.queue_bind(
        name.clone(),
        exchange.into(),
        key,
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.map_err(lost)?;
    channel
        .basic_qos(AHEAD, BasicQosOptions::default())
        .await
        .map_err(lost)?;
    let options = BasicConsumeOptions {
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    let consuming = channel.basic_consume(name, ShortString::default(), options, FieldTable::default());
    let mut deliveries = consuming.await.map_err(lost)?;
    if let Some(attached) = attached.take() {
        let _ = attached.send(());
    }
    loop {
        let delivery = tokio::select! {
            () = session.lost() => return Ok(()),
            delivery = deliveries.next() => delivery,
        };
        let Some(delivery) = delivery else {
            return Err(QueueError::Lost("the broker cancelled the subscription".into()));
        };
        let delivery = delivery.map_err(lost)?;
        if bodies.send(Bytes::from(delivery.data)).await.is_err() {
            return Ok(());
        }
        settlement(&session.life(), delivery.acker.ack(BasicAckOptions::default())).await;
    }
}
