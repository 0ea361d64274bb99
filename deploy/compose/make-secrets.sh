#!/bin/sh
# Make the secrets of compose.yaml that can be made; those that are there stay. Run as root, once.
# They are root's, and readable by the group 10001: the user of the engine's containers.
set -eu
umask 027
cd "$(dirname -- "$0")"
mkdir -p secrets
cd secrets

keep() {
    [ -s "$1" ] || cat > "$1"
}

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

random | keep postgres_owner_password
random | keep postgres_app_password
random | keep rugpt_ray_token
echo "postgresql://rugpt_owner:$(cat postgres_owner_password)@postgres/rugpt" | keep rugpt_database_owner_url
echo "postgresql://rugpt_app:$(cat postgres_app_password)@postgres/rugpt" | keep rugpt_database_url
keep rugpt.conf < ../../nginx/rugpt.conf

chown -R 0:10001 .
chmod 0750 .
chmod 0440 postgres_*_password rugpt_*
for name in fullchain.pem key.pem; do
    [ -s "$name" ] || echo "make-secrets: put your certificate in: $PWD/$name" >&2
done
