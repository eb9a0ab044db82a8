#!/bin/sh
# docs/tls.sh FOLDER: a key, its certificate, and Dask's settings that name them, for DASK_CONFIG=FOLDER.
# Who holds the key may run code on the cluster: the folder is for your eyes only, and for every host of the cluster.
set -eu
umask 077
mkdir -p "${1:?needed: a folder, such as ~/.cldf-tls}"
cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=cldf \
    -keyout key.pem -out cert.pem
pair="{cert: \"$PWD/cert.pem\", key: \"$PWD/key.pem\"}"
cat >tls.yaml <<END
distributed:
  comm:
    default-scheme: tls
    require-encryption: true
    tls: {ca-file: "$PWD/cert.pem", scheduler: $pair, worker: $pair, client: $pair}
  # Else scheduler and workers take some hundredths of a processor each to watch themselves.
  worker: {profile: {enabled: false}}
  admin: {tick: {interval: 1s}}
END
