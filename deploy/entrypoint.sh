#!/bin/sh
# Makes each secret an environment variable: /run/secrets/NAME becomes NAME. Then becomes the command.
set -eu
for file in /run/secrets/*; do
  name=${file##*/}
  case $name in
    [!A-Z]* | *[!A-Z0-9_]*) continue ;; # a key file or a folder, which a setting names
  esac
  value=$(cat "$file")
  export "$name=$value"
done
exec "$@"
