FROM pilothouse/bookshop-base:1
# A fixed number, so that a secret's file can be given to this user before the container exists.
RUN groupmod -g 5432 postgres && usermod -u 5432 postgres \
    && ln -s "$(ls -d /usr/lib/postgresql/*/bin/pg_isready | tail -n 1)" /usr/local/bin/pg_isready \
    && rm -rf /var/lib/postgresql && mkdir -p /var/lib/postgresql/data \
    && chown -R 5432:5432 /var/lib/postgresql && chmod 0700 /var/lib/postgresql/data
COPY db/start /usr/local/bin/start
USER 5432:5432
VOLUME /var/lib/postgresql/data
CMD ["/usr/local/bin/start"]
