FROM pilothouse/bookshop-base:1
COPY web/nginx.conf /etc/nginx/nginx.conf
COPY web/index.html /srv/www/index.html
USER 65532:65532
CMD ["/usr/sbin/nginx", "-g", "daemon off;"]
