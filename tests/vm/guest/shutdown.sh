#!/lib/guest/busybox sh
# As much of shutdown(8) as a guest agent uses: the last of -P -H -r decides.
action=poweroff
for word in "$@"; do
    case $word in
    -P) action=poweroff ;;
    -H) action=halt ;;
    -r) action=reboot ;;
    esac
done
echo "guest: shutdown $*" >/dev/console
exec "/sbin/$action"
