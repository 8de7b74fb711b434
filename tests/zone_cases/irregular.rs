//! A generated cluster that is no model of order.

use std::net::IpAddr;

use outlast::testkit::cluster::Cluster;
use outlast::zone::object::{Addresses, Endpoints, Object, Shape};

/// A generated cluster with the irregularities that real ones have.
pub(crate) fn objects() -> Vec<Object> {
    let mut objects = Cluster::sized(300, 3000).with_pods().objects();
    // A namespace whose object is gone, or has not come yet.
    objects.retain(|o| !matches!(o, Object::Namespace(n) if &*n.name == "media"));
    let mut more = Vec::new();
    let mut last: Option<Box<str>> = None;
    let mut cluster_ip: Option<IpAddr> = None;
    for (number, object) in objects.iter_mut().enumerate() {
        match object {
            // A service that has no address yet.
            Object::Service(o) => match &mut o.shape {
                Shape::ClusterIp(ips) if number % 40 == 0 => *ips = Box::default(),
                Shape::ClusterIp(ips) => cluster_ip = ips.first().copied().or(cluster_ip),
                _ => {}
            },
            Object::EndpointSlice(o) => {
                match number % 11 {
                    0 => o.endpoints = Endpoints::none(),
                    1 => o.ports = Box::default(),
                    // The same endpoints in a second slice, and in a slice of the service before.
                    2 | 3 => {
                        let mut copy = o.clone();
                        copy.name = format!("{}-again", o.name).into();
                        if let (3, Some(other)) = (number % 11, &last) {
                            copy.service = other.clone();
                        }
                        more.push(Object::EndpointSlice(copy));
                    }
                    // An IPv6 address that ends in zeros.
                    4 => {
                        if let Addresses::V6(_) = o.endpoints.addresses() {
                            let zeros = Addresses::V6(["fd00:10:128:7::".parse().unwrap()].into());
                            o.endpoints = Endpoints::new::<&str>(zeros, &[], &[], &[]).unwrap();
                        }
                    }
                    // An endpoint that is another service's cluster address.
                    5 => {
                        if let (Addresses::V4(_), Some(IpAddr::V4(ip))) =
                            (o.endpoints.addresses(), cluster_ip)
                        {
                            o.endpoints =
                                Endpoints::new::<&str>(Addresses::V4([ip].into()), &[], &[], &[]).unwrap();
                        }
                    }
                    _ => {}
                }
                last = Some(o.service.clone());
            }
            _ => {}
        }
    }
    objects.extend(more);
    objects
}
