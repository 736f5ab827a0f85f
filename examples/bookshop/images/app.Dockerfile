FROM pilothouse/bookshop-base:1
COPY api worker /app/
USER 65532:65532
